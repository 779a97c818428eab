"""Many branches as one tree: hierarchies of classes, and routers that choose the way through them."""
