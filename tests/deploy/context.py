"""Copies what `docker build` would send: the repository without what .dockerignore leaves out.

Knows the patterns that our file has: names, paths, and `*`; the last one that fits decides, as in Docker.
"""

import fnmatch
import os
import shutil
import subprocess
import sys


def patterns(root):
    with open(os.path.join(root, ".dockerignore"), encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    return [line for line in lines if line and not line.startswith("#")]


def is_sent(path, rules):
    sent = True
    for rule in rules:
        included = rule.startswith("!")
        rule = rule.lstrip("!")
        parts = path.split("/")
        # A pattern holds for what it names, and for everything below.
        if any(fnmatch.fnmatchcase("/".join(parts[:depth]), rule) and rule.count("/") == depth - 1
               for depth in range(1, len(parts) + 1)):
            sent = included
    return sent


def main(root, target):
    rules = patterns(root)
    listed = subprocess.run(["git", "-C", root, "ls-files", "--cached", "--others", "--exclude-standard"],
                            check=True, capture_output=True, text=True).stdout.splitlines()
    for path in filter(lambda path: is_sent(path, rules), listed):
        if not os.path.exists(os.path.join(root, path)):
            continue
        os.makedirs(os.path.dirname(os.path.join(target, path)), exist_ok=True)
        shutil.copy2(os.path.join(root, path), os.path.join(target, path))


if __name__ == "__main__":
    main(*sys.argv[1:])
