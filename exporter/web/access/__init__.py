"""Who may read pages: passwords, and whose is compared next."""
