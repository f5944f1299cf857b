"""Image sets as uint8 tensors: ``sets`` says which are known, ``datasets`` loads one, ``batches`` makes inputs."""
