"""The only room that knows pixels: sources, one table of images, splits, subsets, augmentation."""
