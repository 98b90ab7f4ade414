"""What `carbonedge ...` offers: one module a command."""
