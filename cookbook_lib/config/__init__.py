from cookbook_lib.config.errors import CookbookError as CookbookError
