"""Files that outlive the process: complete or not at all, as faithful JSON text, and folders for one process at a time."""
