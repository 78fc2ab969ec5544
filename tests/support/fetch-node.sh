#!/usr/bin/env bash
# Brings the newest Node of a major version from the npm registry into .cache/node-MAJOR, which git ignores and `npm ci`
# leaves alone:
#   tests/support/fetch-node.sh 24 && .cache/node-24/bin/node --version
# Does nothing where it is there already; for a newer one, remove the folder. Needs npm and tar.
set -euo pipefail
cd "$(dirname "$0")/../.."

major=${1:?which major version of Node}
folder=.cache/node-$major
package=$(node -p '`node-${process.platform}-${process.arch}`')@$major

# A program of another version, or one that does not run on this machine, is none.
version_of() {
  local version
  version=$("$1/bin/node" --version 2>/dev/null) && [[ $version == "v$major."* ]] && echo "$version"
}

give_up() {
  echo "Node $major cannot be had: $*" >&2
  exit 1
}

if version=$(version_of "$folder"); then
  echo "$folder is there: $version"
  exit
fi

mkdir -p .cache
fresh=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$fresh"' EXIT
npm pack "$package" --pack-destination "$fresh" --loglevel error >/dev/null || give_up "npm did not bring $package"
tar -xzf "$fresh"/*.tgz -C "$fresh" --strip-components=1 package/bin || give_up "$package has no folder bin"
version=$(version_of "$fresh") || give_up "the program in $package does not run here as Node $major"

rm -rf "$folder"
mkdir "$folder"
mv "$fresh/bin" "$folder/bin"
echo "$folder: $version"
