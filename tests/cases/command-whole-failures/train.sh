case "$1" in
    "exit at once") exit 3 ;;
    exit) cat > /dev/null; echo "no memory for the model" >&2; exit 3 ;;
    garbage) cat > /dev/null; echo "epoch 1" ;;
    nothing) cat > /dev/null ;;
    hang) cat > /dev/null; echo "epoch 1" >&2; sleep 60 ;;
    "hang at once") sleep 60 ;;
    killed) cat > /dev/null; kill -9 $$ ;;
esac
