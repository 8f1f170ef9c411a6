#!/bin/sh
# Prints .env.example with a random value for every empty variable: sh deploy/compose/make-env.sh > .env
set -eu
umask 077
while IFS= read -r line; do
  case $line in
    BROKER_ENCRYPTION_KEYS=) printf '%sk1:%s\n' "$line" "$(head -c 32 /dev/urandom | base64)" ;;
    [A-Z]*=) printf '%s%s\n' "$line" "$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n')" ;;
    *) printf '%s\n' "$line" ;;
  esac
done < "$(dirname "$0")/../../.env.example"
