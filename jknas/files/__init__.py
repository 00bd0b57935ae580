"""Files that outlive the process: faithful JSON text."""
