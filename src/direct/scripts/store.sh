umask 077
hidden=$root/.cloud-agent
mkdir -p -- "$hidden" || { echo unavailable; exit; }
if [ ! -s "$hidden/store" ]; then
  printf '%s\n' "$fresh" >"$hidden/store.$fresh"
  # Whoever is first names the store.
  ln -- "$hidden/store.$fresh" "$hidden/store" 2>/dev/null
  rm -f -- "$hidden/store.$fresh"
fi
echo "store $(cat "$hidden/store")"
