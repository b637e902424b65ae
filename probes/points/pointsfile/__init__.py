"""Points files: which functions of a kernel serve the probe points, where they have other names."""
