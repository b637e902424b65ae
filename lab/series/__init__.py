"""`nvscope lab series`: kernels of a patch series, each under the same checks, in one report."""
