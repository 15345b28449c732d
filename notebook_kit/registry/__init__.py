"""The tables of notebook_kit: tasks, model families, and the files of a checkpoint.

The tables are literal data. They import neither torch nor the modules that they name, so that a search, a panel or a
loader can read them at no cost. To add a task or a family, add its line here and write the file that the line names.
"""
