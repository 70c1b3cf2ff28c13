"""Read-only pages for people: repositories, tags and images, without scripts."""
