"""Ground truth: what each operation on a nested guest makes KVM do, by a model."""
