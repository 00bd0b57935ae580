"""Files that outlive the process: complete or not at all, and as faithful JSON text."""
