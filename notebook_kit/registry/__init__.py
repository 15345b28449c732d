"""What notebook_kit knows, as tables: tasks, families of models, and the files that weights are stored in.

The tables are literal data. They import neither torch nor what they name, so that a search, a panel or a loader can
read them at no cost. To add a task or a family, add its line here and write the file that the line names.
"""
