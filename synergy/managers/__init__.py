"""Use cases as plugins: each manager orchestrates ports and leaves every decision to core."""
