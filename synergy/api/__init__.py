"""REST: schema, policy, call, serialize. Knows the managers only through what it is given."""
