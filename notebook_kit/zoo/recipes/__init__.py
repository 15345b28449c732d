"""One module for each checkpoint of the zoo, with a function `build(output, quick=False, work=None)`."""
