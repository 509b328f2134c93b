"""What every room needs: files, progress, devices and processes."""
