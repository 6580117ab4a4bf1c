"""Decodes images, in processes of their own: what a hostile image can do to a decoder, it does to nothing else."""
