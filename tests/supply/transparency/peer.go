// A reader of tiled logs made of the Go team's own packages, to hold ours against.
//
// peer FOLDER VKEY PROOF LEAFHASH OLDSIZE: checks the checkpoint's signature, that every tile
// belongs to its tree, that each entry hashes to its leaf, the inclusion of every leaf, the
// consistency of the tree with the one it was at OLDSIZE, and the .tlog-proof of a leaf.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

func check(err error) {
	if err != nil {
		fmt.Println("refused:", err)
		os.Exit(4)
	}
}

type folder string

func (f folder) Height() int { return height }

func (f folder) path(tile tlog.Tile) string {
	// x/mod names the height of tiles in their path, tlog-tiles does not.
	name := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
	return filepath.Join(string(f), strings.Replace(name, "tile/data/", "tile/entries/", 1))
}

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		data, err := os.ReadFile(f.path(tile))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func (f folder) SaveTiles(tiles []tlog.Tile, data [][]byte) {}

// A checkpoint of C2SP tlog-checkpoint, verified with x/mod's note package.
func checkpoint(signed []byte, vkey string) tlog.Tree {
	verifier, err := note.NewVerifier(vkey)
	check(err)
	opened, err := note.Open(signed, note.VerifierList(verifier))
	check(err)
	lines := strings.Split(opened.Text, "\n")
	if lines[0] != verifier.Name() || len(lines) != 4 {
		check(fmt.Errorf("not a checkpoint: %q", opened.Text))
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err)
	root, err := tlog.ParseHash(lines[2])
	check(err)
	return tlog.Tree{N: size, Hash: root}
}

func main() {
	base, vkey, proofPath := folder(os.Args[1]), os.Args[2], os.Args[3]
	signed, err := os.ReadFile(filepath.Join(os.Args[1], "checkpoint"))
	check(err)
	tree := checkpoint(signed, vkey)
	reader := tlog.TileHashReader(tree, base)

	for index := int64(0); index < tree.N; index++ {
		width := 256
		if tree.N-index/256*256 < 256 {
			width = int(tree.N - index/256*256)
		}
		data, err := os.ReadFile(base.path(tlog.Tile{H: height, L: -1, N: index / 256, W: width}))
		check(err)
		at := int(index%256) * 48
		hashes, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
		check(err)
		if tlog.RecordHash(data[at+2:at+48]) != hashes[0] {
			check(fmt.Errorf("entry %d is another", index))
		}
		proof, err := tlog.ProveRecord(tree.N, index, reader)
		check(err)
		check(tlog.CheckRecord(proof, tree.N, tree.Hash, index, hashes[0]))
	}

	old, err := strconv.ParseInt(os.Args[5], 10, 64)
	check(err)
	was, err := tlog.TreeHash(old, reader)
	check(err)
	grown, err := tlog.ProveTree(tree.N, old, reader)
	check(err)
	check(tlog.CheckTree(grown, tree.N, tree.Hash, old, was))
	for _, hash := range grown {
		fmt.Println("consistency", hash)
	}

	data, err := os.ReadFile(proofPath)
	check(err)
	parts := bytes.SplitN(data, []byte("\n\n"), 2)
	under := checkpoint(parts[1], vkey)
	lines := strings.Split(string(parts[0]), "\n")
	if lines[0] != "c2sp.org/tlog-proof@v1" || !strings.HasPrefix(lines[1], "extra ") {
		check(fmt.Errorf("not a proof"))
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
	check(err)
	var path tlog.RecordProof
	for _, line := range lines[3:] {
		raw, err := base64.StdEncoding.DecodeString(line)
		check(err)
		var hash tlog.Hash
		copy(hash[:], raw)
		path = append(path, hash)
	}
	var leaf tlog.Hash
	raw, err := hex.DecodeString(os.Args[4])
	check(err)
	copy(leaf[:], raw)
	check(tlog.CheckRecord(path, under.N, under.Hash, index, leaf))
	fmt.Println("holds", tree.N)
}
