"""Training: settings, prepared data, batches, augmentation, workers, the loop."""
