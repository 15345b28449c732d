"""Pictures of what is inspected, with matplotlib."""
