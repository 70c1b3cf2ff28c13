"""Pull-through: what the store lacks is fetched from other registries, and kept."""
