"""Many branches as one tree: hierarchies of classes, and routers that choose the path through them."""
