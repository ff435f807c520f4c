"""What dpdk-netback must show on a real Xen host, one module per group of scenarios."""
