"""From HTML to text: encodings, main text, and what a page says of itself."""
