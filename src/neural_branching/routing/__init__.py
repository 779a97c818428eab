"""Many branches as one system: hierarchies of classes, and routers that choose the way through them."""
