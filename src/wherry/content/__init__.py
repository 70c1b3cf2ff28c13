"""Content: the loop that receives a blob, and what it is made of."""
