"""What the rest of the training layer needs: files, errors, settings, progress, devices and processes."""
