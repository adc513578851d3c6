"""One training with Lightning: device, augmentation, optimizer, schedule and Trainer."""
