"""Sony Spresense: packages over XMODEM-1K to the updater of its boot loader."""
