"""From what people have (texts, and in time pictures and sound) to what models take."""
