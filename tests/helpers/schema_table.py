"""A field's row in the table of docs/records.md."""

TYPE_NAMES = {int: "int", float: "float", str: "str", bool: "bool", list: "list", type(None): "null"}


def type_words(types):
    return " or ".join(TYPE_NAMES[kind] for kind in types if not (kind is int and float in types))


def schema_row(field):
    key = f"**`{field.name}`**" if field.required else f"`{field.name}`"
    types = f"list of {type_words(field.items)}" if field.items else type_words(field.types)
    return f"| {key} | {types} | {field.meaning} |"
