"""How one student is taught: data, views, teacher, losses, training, measurement. torch only."""
