"""What the appliance tells over HTTP: everything on a unix socket, reading only on TCP."""
