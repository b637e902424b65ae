"""Who judges which VMs: this process, others, a cluster; while a trace is being recorded, too."""
