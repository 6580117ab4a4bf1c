"""What both services need to run. It knows nothing of jobs."""
