"""The networks, the class prior, and the model that combines them."""
