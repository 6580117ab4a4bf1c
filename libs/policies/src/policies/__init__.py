"""Pure decisions. They take the time and the random draw as arguments, and import nothing but the standard library."""
