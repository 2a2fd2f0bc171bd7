"""Life under systemd: what it is told of the controller, which engines it is to run, and how it stops one."""
