"""What a chart's specification holds, for tests that look at the rows it draws."""


def found(node, key):
    """All values of a key anywhere in a specification."""
    if isinstance(node, dict):
        return [v for k, v in node.items() if k == key] + [v for child in node.values() for v in found(child, key)]
    return [v for child in node for v in found(child, key)] if isinstance(node, list) else []


def drawn(chart):
    """Every row of every data set of a chart, once."""
    specification = chart.to_dict()
    datasets = [d["values"] for d in found(specification, "data") if "values" in d]
    datasets += list(specification.get("datasets", {}).values())
    unique = []
    for row in (row for values in datasets for row in values):
        if row not in unique:
            unique.append(row)
    return unique
