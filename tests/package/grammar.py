"""Parse generated code with the grammar of its language."""

import tree_sitter


def faults(language, source):
    """Return what a grammar (a tree-sitter module) does not take: lines, and what stands there."""
    parser = tree_sitter.Parser(tree_sitter.Language(language.language()))
    waiting, found = [parser.parse(source).root_node], []
    while waiting:
        node = waiting.pop()
        waiting += node.children
        if node.type == "ERROR" or node.is_missing:
            found.append((node.start_point.row + 1, source[node.start_byte : node.end_byte][:60]))
    return found
