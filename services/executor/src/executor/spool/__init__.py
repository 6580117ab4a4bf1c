"""The disk's edge: outcomes in files until they are acknowledged."""
