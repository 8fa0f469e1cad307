"""The networks, the class prior, and the model that they are together."""
