"""The commands of ``jknas``, one file each. Importing them imports no JAX: a command imports what it needs when it runs."""
