"""Image sets as uint8 tensors: where they lie, how they are read, batches and augmentation."""
