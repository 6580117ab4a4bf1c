"""The main job on one machine: real processes, a real Postgres, and the emulator unless a key is set."""
