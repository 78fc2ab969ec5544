#!/usr/bin/env bash
# Brings the Kafka of the tests (kafka/pom.xml) from Maven Central into .cache/kafka, which git ignores and
# `npm ci` leaves alone. Does nothing where it is there already. Needs mvn.
set -euo pipefail
cd "$(dirname "$0")/../.."

pom=tests/support/kafka/pom.xml
folder=.cache/kafka

# The pom is copied last: a folder that has it is whole, and is of these versions.
if cmp -s "$pom" "$folder/pom.xml"; then
  echo "$folder is there"
  exit
fi

rm -rf "$folder"
mkdir -p "$folder"
mvn --batch-mode --quiet --file "$pom" dependency:copy-dependencies \
  -DincludeScope=runtime -DoutputDirectory="$PWD/$folder"
cp "$pom" "$folder/pom.xml"
echo "$folder: $(find "$folder" -name '*.jar' | wc -l) jars"
